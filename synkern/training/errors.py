"""What is raised while only some nodes train."""


class TrainingMaskError(RuntimeError):
    """Something would train other numbers than those of the chosen nodes, or not train those."""
