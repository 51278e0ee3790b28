"""The repositories: SQL on the tables of the product, one module for each kind of row."""
