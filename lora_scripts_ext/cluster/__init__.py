"""Jobs on a Ray cluster: the library stays with the worker that asks for the cluster, the nodes only compute."""
