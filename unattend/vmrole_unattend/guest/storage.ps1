# Part of vmrole's answers: gives each disk of local storage its place, C:\local\NAME. It runs in setup, and may again.
# A disk is known by the serial number that its host gave it. It is formatted only if both sides agree that there is
# nothing to lose: its host has never seen a byte written to it ($blank), and Windows knows no partition on it. What
# was kept from an earlier generation is mounted as it is. It needs nothing that PowerShell 2 does not have.
$ErrorActionPreference = 'Stop'
$ProgressPreference = 'SilentlyContinue'
$notes = "$env:SystemRoot\Setup\vmrole"
$disk_wait_s = 30

function Write-Problem([string]$name, [string]$what) {
    Add-Content -LiteralPath "$notes\storage-problem" -Value "local storage ${name}: $what" -Encoding ASCII
}

# Windows 7 says the serial number of a SATA disk in hexadecimal digits, with the letters of each pair swapped.
function Get-Spellings([string]$serial) {
    $plain = $serial.Trim()
    $plain
    if ($plain -match '^([0-9A-Fa-f]{4})+$') {
        $letters = -join ([regex]::Matches($plain, '..') | ForEach-Object { [char][Convert]::ToInt32($_.Value, 16) })
        $letters.Trim()
        (-join ([regex]::Matches($letters, '..') | ForEach-Object { "$($_.Value[1])$($_.Value[0])" })).Trim()
    }
}

function Find-Disk([string]$name) {
    Get-WmiObject -Class Win32_DiskDrive | Where-Object { @(Get-Spellings $_.SerialNumber) -ccontains "ls-$name" }
}

function Invoke-Diskpart([string[]]$lines) {
    Set-Content -LiteralPath "$notes\storage.txt" -Value $lines -Encoding ASCII
    $said = & diskpart.exe /s "$notes\storage.txt"
    Add-Content -LiteralPath "$notes\storage.log" -Value "$said"
    return $LASTEXITCODE -eq 0
}

function Test-Mounted([string]$place) {
    if (-not (Test-Path -LiteralPath $place)) { return $false }
    return ((Get-Item -LiteralPath $place -Force).Attributes -band [IO.FileAttributes]::ReparsePoint) -ne 0
}

function Mount-Storage([string]$name) {
    $place = "$env:SystemDrive\local\$name"
    # An image that was made of an instance leads from there to a volume that is not here; and what is is mounted anew.
    if (Test-Mounted $place) { [void](& mountvol.exe $place /d) }
    $found = @(Find-Disk $name)
    for ($waited_s = 0; ($found.Count -eq 0) -and ($waited_s -lt $disk_wait_s); $waited_s++) {
        Start-Sleep -Seconds 1
        $found = @(Find-Disk $name)
    }
    if ($found.Count -ne 1) {
        $many = "$($found.Count) disks have the serial number ls-$name"
        Write-Problem $name "$many; is the driver of their bus in the image?"
        return
    }
    $disk = "select disk $($found[0].Index)"
    # A server keeps disks offline that it does not know, and of such a one it says that there is no partition on it.
    [void](Invoke-Diskpart @($disk, 'online disk noerr', 'attributes disk clear readonly noerr', 'rescan'))
    $found = @(Find-Disk $name)
    if ($found.Count -ne 1) {
        Write-Problem $name 'its disk went away'
        return
    }
    if (-not (Test-Path -LiteralPath $place)) { [void](New-Item -ItemType Directory -Path $place -Force) }
    if (([int]$found[0].Partitions -eq 0) -and ($blank -ccontains $name)) {
        $partition = 'create partition primary'
        $format = "format fs=ntfs label=""$name"" quick"
        if (-not (Invoke-Diskpart @($disk, $partition, $format, "assign mount=""$place"""))) {
            Write-Problem $name 'cannot be formatted'
        }
    } elseif ([int]$found[0].Partitions -eq 0) {
        Write-Problem $name 'holds data and no partition that Windows knows, and stays as it is; a rebuild makes it new'
        return
    } elseif (-not (Invoke-Diskpart @($disk, 'select partition 1', "assign mount=""$place"""))) {
        Write-Problem $name 'cannot be mounted'
    }
    if (-not (Test-Mounted $place)) { Write-Problem $name "is not at $place" }
}

if (-not (Test-Path -LiteralPath $notes)) { [void](New-Item -ItemType Directory -Path $notes -Force) }
if (Test-Path -LiteralPath "$notes\storage-problem") { Remove-Item -LiteralPath "$notes\storage-problem" -Force }
foreach ($name in $storages) {
    try {
        Mount-Storage $name
    } catch {
        Write-Problem $name "$_"
    }
}
exit 0
