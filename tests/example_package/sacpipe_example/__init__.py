"""One member of every table of sacpipe, one file each. Nothing of sacpipe is changed for them."""
