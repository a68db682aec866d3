import json
import sys

import pyarrow.flight as flight

client = flight.connect(sys.argv[1])
command = {
    "op": "online",
    "features": ["airport_facts:alt", "route_delay:mean_dep_delay_3h,departures_1d"],
    "entities": {"origin": ["JFK", "EWR", "LGA"], "dest": ["LAX", "SFO", "XXX"]},
    "status": True,
}
table = client.do_get(flight.Ticket(json.dumps(command))).read_all()
for row in table.to_pylist():
    print(row["origin"], row["dest"], row["alt"], row["mean_dep_delay_3h"], row["departures_1d"], row["route_delay__status"])
