# vmrole build 1: runs in audit mode, before Windows is generalized. Tells the serial port what it did.
$ErrorActionPreference = 'Stop'
$port = New-Object System.IO.Ports.SerialPort 'COM1', 115200
$port.Open()

function Say([string] $words) {
    $port.WriteLine("vmrole-build: $words")
}

function Install([string] $package) {
    $done = Start-Process msiexec.exe -Wait -PassThru -ArgumentList '/i', "`"$package`"", '/qn', '/norestart'
    if ($done.ExitCode -ne 0 -and $done.ExitCode -ne 3010) {
        throw "msiexec $package ended with $($done.ExitCode)"
    }
}

try {
    $disc = @('D', 'E', 'F', 'G') | Where-Object { Test-Path "$($_):\virtio-win-gt-x64.msi" } | Select-Object -First 1
    if (-not $disc) {
        throw 'the virtio-win disc is not there'
    }
    Install "$($disc):\virtio-win-gt-x64.msi"
    Install "$($disc):\guest-agent\qemu-ga-x86_64.msi"
    Set-Service -Name 'QEMU-GA' -StartupType Automatic
    $agent = Get-ItemProperty "$env:ProgramFiles\Qemu-ga\qemu-ga.exe"
    $windows = Get-ItemProperty 'HKLM:\SOFTWARE\Microsoft\Windows NT\CurrentVersion'
    Say "windows=$($windows.ProductName) $($windows.CurrentBuild).$($windows.UBR)"
    Say "qemu-ga=$($agent.VersionInfo.ProductVersion)"

    & "$env:SystemRoot\System32\Dism.exe" /Online /Cleanup-Image /StartComponentCleanup /ResetBase /Quiet
    if ($LASTEXITCODE -ne 0) {
        Say "dism=$LASTEXITCODE"
    }

    # A cached answer file would be taken before that of an instance's disc.
    $panther = "$env:SystemRoot\Panther"
    foreach ($cached in "$panther\unattend.xml", "$panther\unattend-original.xml", "$panther\Unattend",
        "$env:SystemRoot\System32\Sysprep\unattend.xml", "$env:SystemDrive\unattend.xml",
        "$env:SystemDrive\Autounattend.xml") {
        if (Test-Path $cached) {
            Remove-Item $cached -Recurse -Force
        }
    }
    Remove-ItemProperty 'HKLM:\SYSTEM\Setup' -Name UnattendFile -ErrorAction SilentlyContinue
    $left = @(Get-ChildItem $panther -Filter '*unattend*.xml' -Recurse -ErrorAction SilentlyContinue).Count
    Say "cached=$left"
    if ($left -ne 0) {
        throw 'a cached answer file could not be removed'
    }
    Say 'done'
    $port.Close()
}
catch {
    Say "failed: $($_.Exception.Message -replace '\s+', ' ')"
    $port.Close()
    Stop-Computer -Force
    Start-Sleep 600
}
