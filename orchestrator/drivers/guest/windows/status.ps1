# vmrole status 1
$ErrorActionPreference = 'SilentlyContinue'
$ProgressPreference = 'SilentlyContinue'
$windows = $env:SystemRoot
$text = New-Object System.Text.StringBuilder

function Say([string]$key, [string]$value) {
    $plain = ($value -replace '[\x00-\x1f\x7f]', ' ').Trim()
    if ($plain.Length -gt 256) { $plain = $plain.Substring(0, 256) }
    [void]$text.Append($key + '=' + $plain + "`n")
}

# Setup writes to these files: they are opened so that it is not disturbed, and no more than their end is read.
function Read-Text([string]$path) {
    try {
        $file = New-Object System.IO.FileStream($path, 'Open', 'Read', 'ReadWrite, Delete')
    } catch {
        return ''
    }
    try {
        if ($file.Length -gt 1048576) { [void]$file.Seek(-1048576, 'End') }
        $reader = New-Object System.IO.StreamReader($file)
        return $reader.ReadToEnd()
    } catch {
        return ''
    } finally {
        $file.Close()
    }
}

function Read-Line([string]$path) {
    return (Read-Text $path).Trim().Split("`n")[0].Trim()
}

function Read-Value([string]$key, [string]$name) {
    $found = Get-ItemProperty -LiteralPath ('Registry::HKEY_LOCAL_MACHINE\' + $key)
    if ($found -eq $null) { return '' }
    return $found.$name
}

# The first process of this boot. Its creation date does not change when the clock is set.
$boot = Get-WmiObject -Query "SELECT CreationDate FROM Win32_Process WHERE Name='smss.exe'" |
    ForEach-Object { $_.CreationDate } | Sort-Object | Select-Object -First 1
Say 'boot' $boot
Say 'setup-boot' (Read-Line "$windows\Setup\vmrole\setup-boot")

Say 'storage-problem' (Read-Line "$windows\Setup\vmrole\storage-problem")

$state = Read-Value 'SOFTWARE\Microsoft\Windows\CurrentVersion\Setup\State' 'ImageState'
if (-not $state -and (Read-Text "$windows\Setup\State\State.ini") -match 'ImageState=(\w+)') { $state = $matches[1] }
Say 'image-state' $state
Say 'system-setup' (Read-Value 'SYSTEM\Setup' 'SystemSetupInProgress')
Say 'oobe' (Read-Value 'SYSTEM\Setup' 'OOBEInProgress')
Say 'computer' ([Environment]::MachineName)

$instance = Read-Line "$windows\Setup\vmrole\instance"
$generation = Read-Line "$windows\Setup\vmrole\generation"
Say 'instance' $instance
Say 'generation' $generation

# Which answer file Setup says that it took for specialize; else the one that it keeps.
$cache = "$windows\Panther\unattend.xml"
$answers = ''
foreach ($log in "$windows\Panther\UnattendGC\setupact.log", "$windows\Panther\setupact.log") {
    if ($answers) { break }
    $said = [regex]::Match((Read-Text $log), 'Found usable unattend file for pass \[specialize\] at \[([^\]]+)\]')
    if ($said.Success) { $answers = $said.Groups[1].Value }
}
$cached = 'no'
if (Test-Path -LiteralPath $cache) {
    if (-not $answers) { $answers = $cache }
    $named = $instance -replace '-(?=-)', '- ' # as the file says it: no comment in XML holds two of them
    $ours = 'vmrole instance ' + $named + ' generation ' + $generation + ' id '
    if (-not $instance -or (Read-Text $cache).IndexOf($ours) -lt 0) { $cached = 'yes' }
}
Say 'answer-file' $answers
Say 'cached' $cached

# Bytes, because the console's code page is nobody's choice.
$bytes = [System.Text.Encoding]::UTF8.GetBytes($text.ToString())
$out = [Console]::OpenStandardOutput()
$out.Write($bytes, 0, $bytes.Length)
$out.Flush()
