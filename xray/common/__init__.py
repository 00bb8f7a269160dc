"""What every other package uses: errors, files, colours, jobs."""
