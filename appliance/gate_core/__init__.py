"""Values and pure functions of Schoolgate: names, clients, timetable, policy, decision, snapshot.

Standard library only, no I/O, no clock: the same arguments always give the same result, so that the
DNS sinkhole, the packet classifier, the pages and the reports cannot disagree.
"""
