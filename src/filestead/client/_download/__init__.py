"""Downloads, and how they are resumed and stored; private."""
