"""One member of every border of sacpipe, one file each. Nothing of sacpipe is changed for them."""
