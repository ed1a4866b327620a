"""Coverage-guided fuzzing of everything that reads bytes of a peer before policy is asked.

`targets`   one function for each reader: it takes bytes, and whatever it does not assert is nobody's promise
`opcua`     those of the OPC UA door
`corpora`   the inputs that are kept, one file for each target
`__main__`  `python -m tests.fuzz`: twenty million runs by atheris, or so many of one target

What a run finds new goes to .build/fuzz/TARGET, and what breaks a promise to .build/fuzz/crashes. To keep the
finds: `python -m tests.fuzz --keep`, which takes the fewest inputs that reach what all of them reach.
"""
