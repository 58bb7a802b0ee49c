# Part of vmrole's answers; cloudbase-init runs it before everything that the user brought, and it ends at once.
# As a task of its own it runs again in the background, with -End: it waits until cloudbase-init has done all that it
# has to do, through any restart that the user's parts ask for, and writes down in which boot setup ended.
# It needs nothing that PowerShell 2 does not have.
$ErrorActionPreference = 'Stop'
$ProgressPreference = 'SilentlyContinue'
$place = "$env:SystemRoot\Setup\vmrole"
$task = 'vmrole-setup-end'
$look_s = 5
$looks_max = 4320 # six hours: longer than anybody lets setup take

# Whole or not at all, even when the power goes.
function Save([string]$name, [string]$text) {
    Set-Content -LiteralPath "$place\.$name" -Value $text -Encoding ASCII
    Move-Item -LiteralPath "$place\.$name" -Destination "$place\$name" -Force
}

# A service that has not been started yet in this boot is stopped with 1077, ERROR_SERVICE_NEVER_STARTED. Where there
# is no such service, somebody ran cloudbase-init by hand, and there is nothing to wait for.
function Test-Ended {
    $service = Get-WmiObject -Query "SELECT State, ExitCode FROM Win32_Service WHERE Name='cloudbase-init'"
    if ($service -eq $null) { return $true }
    return ($service.State -eq 'Stopped') -and ($service.ExitCode -ne 1077)
}

# The first process of this boot. Its creation date does not change when the clock is set.
function Get-Boot {
    return Get-WmiObject -Query "SELECT CreationDate FROM Win32_Process WHERE Name='smss.exe'" |
        ForEach-Object { $_.CreationDate } | Sort-Object | Select-Object -First 1
}

if ($End) {
    if (-not (Test-Path -LiteralPath "$place\setup-boot")) {
        $ended = 0 # A look between two plugins that restart the guest must not count: it takes two in a row.
        for ($look = 0; ($look -lt $looks_max) -and ($ended -lt 2); $look++) {
            Start-Sleep -Seconds $look_s
            if (Test-Ended) { $ended++ } else { $ended = 0 }
        }
        if ($ended -lt 2) { Save 'setup-problems' 'cloudbase-init did not end' }
        Save 'setup-boot' (Get-Boot)
        if ($restart) { shutdown.exe /r /t 5 /d p:2:4 /c 'vmrole: setup restart' }
    }
    schtasks.exe /delete /f /tn $task
    exit 0
}

$known = ''
if (Test-Path -LiteralPath "$place\instance-id") { $known = Get-Content -LiteralPath "$place\instance-id" }
if ($known -ne $instance_id) {
    # An image may carry the traces of another instance.
    if (Test-Path -LiteralPath $place) { Remove-Item -LiteralPath $place -Recurse -Force }
    [void](New-Item -ItemType Directory -Path $place)
    Save 'instance' $instance
    Save 'generation' $generation
    Save 'instance-id' $instance_id
}
# By which the guest speaks to vmrole. One that cannot be put there keeps nobody's setup up.
try {
    if (-not (Test-Path -LiteralPath "$place\files")) { [void](New-Item -ItemType Directory -Path "$place\files") }
    [System.IO.File]::WriteAllBytes("$place\files\vmrole-guest.ps1", [Convert]::FromBase64String($client))
}
catch { Write-Output "vmrole-guest.ps1 could not be written: $($_.Exception.Message)" }
if (-not (Test-Path -LiteralPath "$place\setup-boot")) {
    Copy-Item -LiteralPath $MyInvocation.MyCommand.Path -Destination "$place\setup.ps1" -Force
    $run = "powershell.exe -NoProfile -NonInteractive -ExecutionPolicy Bypass -File $place\setup.ps1 -End"
    schtasks.exe /create /f /tn $task /sc onstart /ru SYSTEM /tr $run
    schtasks.exe /run /tn $task
}
exit 0 # 1001 to 1003 would mean something to cloudbase-init.
