"""active-loop: a model to a target metric with as few human labels as possible, and an honest stop."""
