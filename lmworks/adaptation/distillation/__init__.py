"""A smaller model from a larger one: the student's beginning, and the teacher's predictions on disk."""
