# vmrole flush 1
$ErrorActionPreference = 'Stop'
$ProgressPreference = 'SilentlyContinue'

# Since Windows 8 and Server 2012. Volumes without a letter are Windows' own: it writes there at a shutdown or an update.
try {
    $count = 0
    foreach ($volume in (Get-Volume | Where-Object { $_.DriveType -eq 'Fixed' -and [int][char]$_.DriveLetter -ne 0 })) {
        Write-VolumeCache -DriveLetter $volume.DriveLetter
        $count++
    }
    if ($count -eq 0) { throw 'no volume with a letter' }
} catch {
    [Console]::Out.Write(($_.Exception.Message -replace '[\x00-\x1f\x7f]', ' '))
    exit 1
}
exit 0
