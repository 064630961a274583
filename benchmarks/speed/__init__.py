"""The parts of `bench_speed.py`: each module measures one thing and yields rows; `measure.py` holds the clock."""
