"""Training of nodes of the model of a study, by condition, and what each gains."""
