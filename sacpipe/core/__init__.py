"""What training and the robot share: errors, files, configuration, records, seeds and bundles. No torch."""
