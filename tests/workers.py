"""Workers of a cluster that are not as they should be."""

import os

from dpenet_cli.batch.ray_worker import Worker


class Deadly(Worker):
    """A worker that dies over one picture, as a decoder may that runs into a damaged file."""

    deaths = 2

    def _pictures(self, jobs):
        jobs = list(jobs)
        if any(job.source.name == "7.png" for job in jobs):
            os._exit(1)
        return super()._pictures(iter(jobs))


class Elsewhere(Worker):
    """A worker that does not see what it must."""

    patience = 1.0

    def _cannot(self, needs):
        return super()._cannot(needs._replace(outputs=("/nowhere/at/all",)))
