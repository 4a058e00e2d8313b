"""How a network becomes a tape, and how threads run it.

weights.py          a network's packed weights
buffers.py          the memory that a run works in
tape.py             a network as steps
interpreter.py      one step after another, with a barrier after each
work_stealing.py    beside a busy process: one thread leads, the others help when they have a core
team.py             the threads, and which of the two ways they take
library.py          the compiled functions: made once, kept on the disk, checked
"""
