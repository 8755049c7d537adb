"""Parts of the learners: perceptrons, the squashed Gaussian actor, stacked critics, the normaliser."""
