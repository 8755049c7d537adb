"""The task suite `softlearning`: the own tasks of github.com/rail-berkeley/softlearning, one file each."""
