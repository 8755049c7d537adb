"""Episodes of any policy, what their returns mean, and a video of one."""
