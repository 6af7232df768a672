"""What a technician would look at on a till that is said to be ill: its files, its machine, and the way to the vendors.

Nothing is started, changed or sent but questions, so that it can be run beside a working agent and without one. Each
look is a finding (:mod:`agent.doctor.findings`): what was looked at, how it stands, and what to do about it. No
personal data enters here.
"""
