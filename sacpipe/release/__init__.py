"""The release gate, and the promotion that moves the champion's alias."""
