/* Stands in for loyalty-agent.exe where Windows' service manager and installer are tried without Windows' Python.

   Built by test_windows.py with mingw. It knows the commands that the package has Windows run, and leaves a line about
   each in C:\stand-in.log; C:\stand-in.refuses makes `service erase` refuse, as it does while sales are unsent. */
#include <stdio.h>
#include <string.h>
#include <windows.h>

static SERVICE_STATUS_HANDLE manager;
static HANDLE wanted;

static void note(const char *line)
{
    FILE *log = fopen("C:\\stand-in.log", "a");
    if (log) {
        fprintf(log, "%s\n", line);
        fclose(log);
    }
}

static void tell(DWORD state)
{
    SERVICE_STATUS status = {SERVICE_WIN32_OWN_PROCESS, state, SERVICE_ACCEPT_STOP, 0, 0, 0, 3000};
    SetServiceStatus(manager, &status);
}

static DWORD WINAPI control(DWORD what, DWORD kind, void *data, void *context)
{
    if (what == SERVICE_CONTROL_STOP) {
        tell(SERVICE_STOP_PENDING);
        SetEvent(wanted);
    }
    return NO_ERROR;
}

static void WINAPI service(DWORD count, char **words)
{
    manager = RegisterServiceCtrlHandlerExA("loyalty-agent", control, NULL);
    wanted = CreateEventA(NULL, TRUE, FALSE, NULL);
    tell(SERVICE_START_PENDING);
    tell(SERVICE_RUNNING);
    note("running");
    WaitForSingleObject(wanted, INFINITE);
    note("stopped");
    tell(SERVICE_STOPPED);
}

int main(int count, char **words)
{
    char line[1024] = "";
    for (int at = 1; at < count; at++) {
        strcat(line, at > 1 ? " " : "");
        strncat(line, words[at], 200);
    }
    note(line);
    if (!strcmp(line, "stay")) /* a Windows of wine's ends its services with its last other program */
        Sleep(INFINITE);
    if (count >= 3 && !strcmp(words[1], "service") && !strcmp(words[2], "run")) {
        SERVICE_TABLE_ENTRYA table[] = {{"loyalty-agent", service}, {NULL, NULL}};
        return StartServiceCtrlDispatcherA(table) ? 0 : 1;
    }
    if (!strcmp(line, "service erase") && GetFileAttributesA("C:\\stand-in.refuses") != INVALID_FILE_ATTRIBUTES)
        return 1;
    return 0;
}
