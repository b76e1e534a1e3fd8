"""Small MovieLens folders as the publisher ships them, written by tests."""

from __future__ import annotations

from pathlib import Path

# user::film::rating::time. User 1's latest is film 30, user 2's is 10 (the later of two lines of the same second),
# user 3's is 20. In order of first appearance films are numbered 30 -> 0, 10 -> 1, 20 -> 2, 40 -> 3.
RATINGS = """\
1::30::5::300
1::10::4::100
1::20::3::200
2::20::3::500
2::10::2::500
3::40::1::100
3::20::5::900
"""
USERS = """\
1::F::1::10::48067
2::M::56::16::02139
3::M::25::15::48999-1234
"""


def write_ml1m(folder: Path, ratings: str = RATINGS, users: str = USERS) -> Path:
    """Write ratings.dat and users.dat."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "ratings.dat").write_text(ratings, encoding="latin-1")
    (folder / "users.dat").write_text(users, encoding="latin-1")
    return folder


def write_ml100k(folder: Path) -> Path:
    """Write the same ratings as u.data and u.user; user 3's zip code begins with a letter."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "u.data").write_text(RATINGS.replace("::", "\t"), encoding="latin-1")
    users = "1|24|M|technician|48067\n2|53|F|other|02139\n3|23|M|writer|V3N4P\n"
    (folder / "u.user").write_text(users, encoding="latin-1")
    return folder


def write_ncf(root: Path) -> Path:
    """Write NCF's files for two users and 102 items: user 1's first published negative is its own test item."""
    ncf, users = root / "ncf", root / "ml-1m"
    ncf.mkdir(parents=True)
    users.mkdir()
    (ncf / "ml-1m.train.rating").write_text("0\t0\t5\t1\n0\t1\t4\t2\n1\t0\t3\t3\n", encoding="latin-1")
    (ncf / "ml-1m.test.rating").write_text("0\t2\t5\t9\n1\t3\t4\t9\n", encoding="latin-1")
    first = "\t".join(str(item) for item in range(3, 102))
    second = "\t".join(str(item) for item in range(3, 102))
    (ncf / "ml-1m.test.negative").write_text(f"(0,2)\t{first}\n(1,3)\t{second}\n", encoding="latin-1")
    (users / "users.dat").write_text("1::F::1::10::48067\n2::M::56::16::02139\n", encoding="latin-1")
    return root
