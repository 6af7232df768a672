<#
.SYNOPSIS
Builds the Windows program, on Windows: dist\loyalty-agent, from which the MSI is made.

.DESCRIPTION
Needs Python 3.11 to 3.14 for x64 and this checkout, and a package index that holds what requirements.txt pins by hash
(pip's own configuration says which). The MSI itself is made on Linux, or in WSL on this machine:

    make msi PAYLOAD=dist/loyalty-agent

.PARAMETER Python
The interpreter; what is built has its version.

.PARAMETER SignWith
The thumbprint of a code-signing certificate in this user's store. Without one nothing is signed.

.PARAMETER TimestampUrl
Who attests the time of the signature.
#>
param(
    [string] $Python = "python",
    [string] $SignWith = "",
    [string] $TimestampUrl = ""
)
$ErrorActionPreference = "Stop"
Set-StrictMode -Version Latest

$here = $PSScriptRoot
$root = Split-Path -Parent (Split-Path -Parent $here)
$work = Join-Path $root "build\windows"
$venv = Join-Path $work "venv"
$made = Join-Path $root "dist\loyalty-agent"

function Run {
    # A program's failure ends the script, as a command's of PowerShell's does.
    param([string] $Program, [Parameter(ValueFromRemainingArguments)] [string[]] $Arguments)
    & $Program @Arguments
    if ($LASTEXITCODE -ne 0) { throw "$Program ended with $LASTEXITCODE" }
}

if (Test-Path $work) { Remove-Item -Recurse -Force $work }
if (Test-Path $made) { Remove-Item -Recurse -Force $made }
New-Item -ItemType Directory -Force $work | Out-Null
Set-Location $root

Run $Python -m venv $venv
$inside = Join-Path $venv "Scripts\python.exe"
Run $inside -m pip install --quiet --disable-pip-version-check --require-hashes --only-binary :all: -r (Join-Path $here "requirements.txt")
Run $inside -m hatchling build -t wheel -d (Join-Path $work "wheel")
$wheel = (Get-ChildItem (Join-Path $work "wheel\*.whl")).FullName
Run $inside -m pip install --quiet --disable-pip-version-check --no-deps --no-index $wheel

$env:SOURCE_DATE_EPOCH = (git log -1 --format=%ct)
Run $inside -m PyInstaller --noconfirm --distpath (Join-Path $root "dist") --workpath (Join-Path $work "pyinstaller") (Join-Path $here "loyalty-agent.spec")

if ($SignWith) {
    $stamp = @()
    if ($TimestampUrl) { $stamp = @("/tr", $TimestampUrl, "/td", "sha256") }
    Run signtool sign /fd sha256 /sha1 $SignWith @stamp (Join-Path $made "loyalty-agent.exe")
}

# It runs, and everything that it shows is inside.
$program = Join-Path $made "loyalty-agent.exe"
Run $program version
Run $program config example | Out-Null
Run $program demo
Write-Output $made
