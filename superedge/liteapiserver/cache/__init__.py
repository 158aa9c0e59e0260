"""The cache of what clients read: objects, views and documents. Pure, except for `committer`.

`Cache` is the entry point: `record` while the cloud answers, `answer` while it does not.
"""
