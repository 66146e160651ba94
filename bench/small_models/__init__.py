"""Two language models trained here, on tasks of `synkern.tasks`: dense, and with experts.

`python -m bench.small_models --out DIR` trains both and says what they can do. Each is a row of
folders as transformers saves models, `DIR/dense/step-0`, `step-1`, `step-2`, `step-4`, ... and the
last step, to be loaded by `synkern.models.load`.
"""
