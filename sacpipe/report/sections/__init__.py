"""One file for each section of the page, with a function `build`."""
