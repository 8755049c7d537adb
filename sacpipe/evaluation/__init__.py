"""Episodes of any policy, statistics of their returns, and a video of one episode."""
