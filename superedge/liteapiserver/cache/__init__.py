"""What clients read, remembered: objects, views of them, documents. Pure but for `committer`.

`cache` is the entrance: `record` while the cloud answers, `answer` while it does not.
"""
