"""The job that makes training clips, and what it needs to know of corpora."""

from beam_jobs.surroundings import settle_in

settle_in()
