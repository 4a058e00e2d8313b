"""How a network becomes a tape, and how threads run it.

network.py          one network: hidden states, logits, tokens written ahead
placing.py          which tokens run, where they are, what they see; spans.py cuts texts for it
workspace.py        the frame of a network, and all that stays from run to run
weights.py          a network's packed weights; turns.py: what heads are rotated by
buffers.py          the memory that a run works in
tape.py             a network as steps
interpreter.py      one step after another, with a barrier after each
team.py             the threads
work_stealing.py    beside a busy process: one thread leads, the others help when they have a core; leading.py says when
library.py          the compiled functions: made once, kept on the disk, checked
functions.py        which they are, in parts; compiling.py compiles them with numba, in processes of their own
"""
