"""Where configurations come from: a file today; every source is a `Source`, so that others join without a change above."""
