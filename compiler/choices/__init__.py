"""Architecture choices: nodes of a graph at which one of several candidates is to be chosen."""
