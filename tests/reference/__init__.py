"""Each part against a public implementation, in float32 on the CPU."""
