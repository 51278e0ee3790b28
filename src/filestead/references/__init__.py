"""Files that a request to a model names by their ids: their content takes the place of the ids."""
