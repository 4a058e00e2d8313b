"""Recordings: files of sound as samples."""
