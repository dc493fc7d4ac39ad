"""What schemathesis sends as CSV, since no JSON schema tells what good CSV is."""

import schemathesis
from hypothesis import strategies as st

HEADER = "tenure_months,num_complaints,avg_session_minutes,plan_type,region"
lines = st.builds(
    "{},{},{},{},{}".format,
    st.integers(0, 1200),
    st.integers(0, 1000),
    st.floats(0, 1440),
    st.sampled_from(["Basic", "Standard", "Premium"]),
    st.sampled_from(["APAC", "EU", "LATAM", "NA"]),
)
schemathesis.openapi.media_type(
    "text/csv",
    st.lists(lines, min_size=1).map(lambda found: "\n".join([HEADER, *found]).encode()),
)
