"""How much memory is free."""

from __future__ import annotations

from pathlib import Path

from lmworks.basics.memory import left_in_groups


def test_what_a_container_leaves_counts_pages_of_files_as_free(tmp_path: Path):
    own, root = tmp_path / "cgroup", tmp_path / "fs"
    inner = root / "box" / "job"
    inner.mkdir(parents=True)
    own.write_text("4:memory:/old\n0::/box/job\n")
    assert left_in_groups(root, own) == []
    for folder, limit, held in ((inner, "max", 700), (inner.parent, "1000", 900)):
        (folder / "memory.max").write_text(f"{limit}\n")
        (folder / "memory.current").write_text(f"{held}\n")
        (folder / "memory.stat").write_text("anon 600\nactive_file 100\ninactive_file 200\n")
    assert left_in_groups(root, own) == [400]
    assert left_in_groups(root, tmp_path / "none") == []
