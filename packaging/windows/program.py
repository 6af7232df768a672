"""What PyInstaller makes the program of. A process that the agent starts for itself ends in `freeze_support`."""

import multiprocessing

if __name__ == "__main__":
    multiprocessing.freeze_support()

    from agent.__main__ import main

    main()
