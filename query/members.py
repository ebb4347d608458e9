"""Which pattern a fingerprint belongs to, as SQL."""

from __future__ import annotations

from storage.schema import current_patterns


def pattern_of(fingerprints: str, database: str, *, alone: bool = False) -> str:
    """A subquery's rows with what is known of their column `f`: `id`, `text` and `name` of its pattern.

    A fingerprint that is too new to have a pattern is its own. `alone`: each is, since what was learnt from all events
    is not for who asks.
    """
    texts = f"(SELECT fingerprint, any(template) AS template FROM {database}.templates GROUP BY fingerprint)"
    if alone:
        return (
            "SELECT counted.*, f AS id, t.template AS text, '' AS name "
            f"FROM ({fingerprints}) AS counted LEFT JOIN {texts} AS t ON f = t.fingerprint"
        )
    return (
        "SELECT counted.*, if(k.template = '', f, k.pattern) AS id, "
        "if(k.template = '', t.template, k.template) AS text, k.name AS name "
        f"FROM ({fingerprints}) AS counted "
        f"LEFT JOIN {current_patterns(database)} AS k ON f = k.fingerprint LEFT JOIN {texts} AS t ON f = t.fingerprint"
    )


def patterns_since(moment: str, database: str) -> str:
    """The ids of patterns of which no event is older than a moment: of none of their fingerprints, in either tier.

    `seen` forgets nothing: what came up long ago, and is gone, is not new when it comes back.
    """
    first = f"SELECT fingerprint AS f, min(first_seen) AS first FROM {database}.seen GROUP BY f"
    return (
        f"SELECT id FROM (SELECT first, if(k.template = '', f, k.pattern) AS id FROM ({first}) AS seen "
        f"LEFT JOIN {current_patterns(database)} AS k ON f = k.fingerprint) GROUP BY id HAVING min(first) >= {moment}"
    )
