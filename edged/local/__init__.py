"""Models on this device, as the daemon sees them: child processes, who is resident, and the Backend on top."""
