"""Changes of the octets of a DNS message, for Hypothesis to make up: those of ``mutate`` are drawn by lot."""

from hypothesis import strategies as st

MUTATIONS = st.lists(
    st.tuples(
        st.sampled_from(["set", "cut", "insert", "delete"]),
        st.integers(0, 200),
        st.integers(0, 255),
    ),
    min_size=1,
    max_size=6,
)


def mutated(octets: bytes, changes) -> bytes:
    """Return ``octets`` after ``changes``, of ``MUTATIONS``."""
    changed = bytearray(octets)
    for how, number, value in changes:
        place = number % max(1, len(changed))
        match how:
            case "set" if changed:
                changed[place] = value
            case "cut":
                del changed[max(place, 12) :]
            case "insert":
                changed.insert(place, value)
            case "delete" if changed:
                del changed[place]
    return bytes(changed)
