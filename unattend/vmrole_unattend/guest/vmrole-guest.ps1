# Speaks to vmrole from within a Windows guest: vmrole-guest.ps1 whoami | ready [--for SECONDS] [REASON] |
# busy --for SECONDS [REASON] | log LINE | peers [--after NUMBER | --past NAME] | stopping | let-go |
# blob put|get [--role] [--if-version VERSION] NAME FILE | blob ls [--role] [--after NAME] |
# blob rm [--role] [--if-version VERSION] NAME | subscribe peers|stopping
# Prints the answer, one line of JSON; of a subscription a line for each thing that is told, until it is ended. Exits
# with 0 when it is done, 1 when the host refuses it, 2 for what is no such request, 3 when the host has noted it and
# not done it yet, 4 when nobody answers, 5 when the blob is of another version by now. Run it as an administrator:
#   powershell.exe -NoProfile -ExecutionPolicy Bypass -File vmrole-guest.ps1 whoami
# It needs nothing that PowerShell 2 does not have, and virtio-serial's driver. It says nothing of its boot, which has
# no name that both sides know: ask for `stopping` again each minute.
$ErrorActionPreference = 'Stop'
$port = '\\.\Global\com.vmrole.guest.0'
$answer_s = 20
$text_max = 2000
$read_bytes = 16384
$part_bytes = 11264 # of a blob in one line
$tries_max = 3
$too_often = -32001
$stale = -32002
$not_there = -32003

function Stop-Usage {
    [Console]::Error.WriteLine('usage: vmrole-guest.ps1 whoami | ready [--for SECONDS] [REASON] |')
    [Console]::Error.WriteLine('  busy --for SECONDS [REASON] | log LINE | peers [--after NUMBER | --past NAME] |')
    [Console]::Error.WriteLine('  blob put [--role] [--if-version VERSION] NAME FILE | blob get [--role] NAME FILE |')
    [Console]::Error.WriteLine('  blob ls [--role] [--after NAME] | blob rm [--role] [--if-version VERSION] NAME |')
    [Console]::Error.WriteLine('  subscribe peers|stopping | stopping | let-go')
    exit 2
}

function Stop-Unanswered([string]$why) {
    [Console]::Error.WriteLine("vmrole-guest: $why")
    exit 4
}

# Words as they may stand between the quotes of JSON, without quotes and backslashes of their own.
function Get-Plain($words) {
    $plain = New-Object System.Text.StringBuilder
    foreach ($letter in [string]::Join(' ', [string[]]@($words)).ToCharArray()) {
        $code = [int]$letter
        if ($plain.Length -ge $text_max) { break }
        if (($code -eq 9) -or ($code -eq 10) -or ($code -eq 13)) { [void]$plain.Append(' ') }
        elseif (($code -lt 32) -or ($code -eq 34) -or ($code -eq 92) -or ($code -eq 127)) { continue }
        elseif ($code -gt 126) { [void]$plain.Append(('\u{0:x4}' -f $code)) }
        else { [void]$plain.Append($letter) }
    }
    return $plain.ToString()
}

$words = @($args | ForEach-Object { [string]$_ })
if ($words.Count -eq 0) { Stop-Usage }
$method = $words[0]
$rest = @($words | Select-Object -Skip 1)
$option = ''
if ($rest.Count -ge 1) { $option = $rest[0] }
$params = ''
$does = ''
$file = ''
switch -CaseSensitive ($method) {
    'whoami' { if ($rest.Count -ne 0) { Stop-Usage } }
    'blob' {
        if ($rest.Count -eq 0) { Stop-Usage }
        $does = $rest[0]
        $rest = @($rest | Select-Object -Skip 1)
        while (($rest.Count -ge 1) -and $rest[0].StartsWith('--')) {
            $option = $rest[0]
            if ($option -ceq '--role') {
                $params += ',"of":"role"'
                $rest = @($rest | Select-Object -Skip 1)
                continue
            }
            if ($rest.Count -lt 2) { Stop-Usage }
            if (($option -ceq '--if-version') -and (($does -ceq 'put') -or ($does -ceq 'rm'))) {
                $params += ',"if_version":"' + (Get-Plain $rest[1]) + '"'
            }
            elseif (($option -ceq '--after') -and ($does -ceq 'ls')) {
                $params += ',"after":"' + (Get-Plain $rest[1]) + '"'
            }
            else { Stop-Usage }
            $rest = @($rest | Select-Object -Skip 2)
        }
        $wanted = @{ 'put' = 2; 'get' = 2; 'ls' = 0; 'rm' = 1 }
        if ((-not $wanted.ContainsKey($does)) -or ($rest.Count -ne $wanted[$does])) { Stop-Usage }
        if ($rest.Count -ge 1) { $params = ',"name":"' + (Get-Plain $rest[0]) + '"' + $params }
        if ($rest.Count -ge 2) {
            $file = $ExecutionContext.SessionState.Path.GetUnresolvedProviderPathFromPSPath($rest[1])
            if (($does -ceq 'put') -and (-not [System.IO.File]::Exists($file))) {
                [Console]::Error.WriteLine("vmrole-guest: there is no file $file")
                exit 2
            }
        }
    }
    'subscribe' {
        if (($rest.Count -ne 1) -or (($option -cne 'peers') -and ($option -cne 'stopping'))) { Stop-Usage }
        $params = '"to":["' + $option + '"]'
    }
    'stopping' { if ($rest.Count -ne 0) { Stop-Usage } }
    'let-go' {
        if ($rest.Count -ne 0) { Stop-Usage }
        $method = 'let_go'
    }
    'log' {
        if ($rest.Count -eq 0) { Stop-Usage }
        $params = '"line":"' + (Get-Plain $rest) + '"'
    }
    'peers' {
        if (($rest.Count -ne 0) -and ($rest.Count -ne 2)) { Stop-Usage }
        if ($rest.Count -eq 2) {
            if (($option -ceq '--after') -and ($rest[1] -match '^[0-9]{1,18}$')) { $params = '"after":' + $rest[1] }
            elseif ($option -ceq '--past') { $params = '"past":"' + (Get-Plain $rest[1]) + '"' }
            else { Stop-Usage }
        }
    }
    { ($_ -ceq 'ready') -or ($_ -ceq 'busy') } {
        if ($option -ceq '--for') {
            if (($rest.Count -lt 2) -or ($rest[1] -notmatch '^[0-9]{1,6}(\.[0-9]{1,6})?$')) { Stop-Usage }
            $params = '"for_s":' + $rest[1] + ','
            $rest = @($rest | Select-Object -Skip 2)
        }
        elseif ($method -ceq 'busy') { Stop-Usage }
        $params += '"reason":"' + (Get-Plain $rest) + '"'
    }
    default { Stop-Usage }
}

# .NET's own FileStream opens no device by its name.
Add-Type -Namespace VmRole -Name Port -MemberDefinition @'
[System.Runtime.InteropServices.DllImport("kernel32.dll",
    CharSet = System.Runtime.InteropServices.CharSet.Unicode, SetLastError = true)]
public static extern Microsoft.Win32.SafeHandles.SafeFileHandle CreateFile(
    string name, uint access, uint share, System.IntPtr security, uint disposition, uint flags, System.IntPtr template);
'@

$script:began = [DateTime]::UtcNow
function Get-Left { # in milliseconds, by a clock that somebody may set: never more than there were
    $gone = ([DateTime]::UtcNow - $script:began).TotalMilliseconds
    if ($gone -lt 0) { return 0 }
    return [int][Math]::Max(0, ($answer_s * 1000) - $gone)
}

# Read and written, shared with nobody, of what is there, overlapped: a read has an end although nobody answers.
$handle = $null
while ($true) {
    $handle = [VmRole.Port]::CreateFile($port, [uint32]3221225472, 0, [IntPtr]::Zero, 3, 1073741824, [IntPtr]::Zero)
    if (-not $handle.IsInvalid) { break }
    $code = [System.Runtime.InteropServices.Marshal]::GetLastWin32Error()
    if (($code -eq 2) -or ($code -eq 3)) { Stop-Unanswered 'this machine has no channel com.vmrole.guest.0' }
    if ((Get-Left) -eq 0) { Stop-Unanswered "nobody answers; the channel is not to be had (error $code)" }
    Start-Sleep -Milliseconds 200 # Another program has it.
}
$stream = New-Object System.IO.FileStream($handle, [System.IO.FileAccess]::ReadWrite, 1, $true)
$buffer = New-Object byte[] $read_bytes
$script:unfinished = ''
$script:ended = $false

# The lines that have come whole, within so many milliseconds (-1: whenever they come); none where the host is away.
function Read-Lines([int]$within_ms) {
    $reading = $stream.BeginRead($buffer, 0, $buffer.Length, $null, $null)
    if (-not $reading.AsyncWaitHandle.WaitOne($within_ms, $false)) { Stop-Unanswered 'nobody answers' }
    $taken = $stream.EndRead($reading)
    $script:ended = $taken -eq 0
    if ($script:ended) { return }
    $pieces = ($script:unfinished + [System.Text.Encoding]::ASCII.GetString($buffer, 0, $taken)).Split("`n")
    $script:unfinished = $pieces[$pieces.Length - 1]
    for ($number = 0; $number -lt ($pieces.Length - 1); $number++) { $pieces[$number] }
}

# The answer to a request, a line; what was too often is asked again in time.
function Get-Answer([string]$asked, [string]$said) {
    $script:began = [DateTime]::UtcNow
    while ($true) {
        $id = [Guid]::NewGuid().ToString()
        # An empty line ends what another program has left half sent.
        $request = '{"jsonrpc":"2.0","id":"' + $id + '","method":"' + $asked + '","params":{' + $said + '}}'
        $request = "`n" + $request + "`n"
        $bytes = [System.Text.Encoding]::ASCII.GetBytes($request)
        $writing = $stream.BeginWrite($bytes, 0, $bytes.Length, $null, $null)
        if (-not $writing.AsyncWaitHandle.WaitOne((Get-Left), $false)) { Stop-Unanswered 'nobody answers' }
        $stream.EndWrite($writing)
        $found = ''
        while (-not $found) {
            $lines = @(Read-Lines (Get-Left))
            if ($script:ended) { # The host is away.
                if ((Get-Left) -eq 0) { Stop-Unanswered 'nobody answers' }
                Start-Sleep -Milliseconds 200
            }
            # Answers to others, and what is told unasked, are passed over.
            foreach ($line in $lines) { if ($line.Contains('"id": "' + $id + '"')) { $found = $line } }
        }
        if ((-not $asked.StartsWith('blob.')) -or ((Get-Code $found) -ne $too_often)) { return $found }
        if ((Get-Left) -lt 1000) { return $found }
        Start-Sleep -Milliseconds 600
    }
}

# By which number the host refuses it; 0 when it does not.
function Get-Code([string]$told) {
    if ($told.Contains('"error": {') -and ($told -match '"code": (-?[0-9]+)')) { return [int]$matches[1] }
    return 0
}

function Get-Digest([byte[]]$data) {
    $digest = [System.Security.Cryptography.SHA256]::Create().ComputeHash($data)
    return [BitConverter]::ToString($digest).Replace('-', '').ToLower()
}

# Puts the file's bytes, all or none of them; begins again when the host has begun anew.
function Send-Blob {
    $data = [System.IO.File]::ReadAllBytes($file)
    $put = '"put":"' + [Guid]::NewGuid().ToString() + '","size":' + $data.Length
    $put += ',"sha256":"' + (Get-Digest $data) + '"' + $params
    $at = 0
    $tries = 0
    while ($true) {
        $length = [Math]::Min($part_bytes, $data.Length - $at)
        $part = [Convert]::ToBase64String($data, $at, $length)
        $told = Get-Answer 'blob.put' ('"offset":' + $at + ',"data":"' + $part + '",' + $put)
        if ((Get-Code $told) -eq $not_there) {
            $tries++
            if (($at -eq 0) -or ($tries -ge $tries_max)) { return $told }
            $at = 0
            continue
        }
        if ($told -notmatch '"taken": ([0-9]+)') { return $told }
        $at = [int]$matches[1]
    }
}

# Gets the bytes, all of one version, and puts them into the file, all or none of them.
function Receive-Blob {
    for ($tries = 1; $true; $tries++) {
        $data = New-Object System.IO.MemoryStream
        $version = ''
        while ($true) {
            $told = Get-Answer 'blob.get' ('"offset":' + $data.Length + $params + $version)
            if (Get-Code $told) { break }
            if ($told -notmatch '"version": "([0-9A-Za-z]+)"') { Stop-Unanswered 'no version is told' }
            $version = ',"version":"' + $matches[1] + '"'
            if ($told -notmatch '"data": "([A-Za-z0-9+/=]*)"') { Stop-Unanswered 'no bytes are told' }
            $part = [Convert]::FromBase64String($matches[1])
            $data.Write($part, 0, $part.Length)
            if ($told -notmatch '"size": ([0-9]+)') { Stop-Unanswered 'no size is told' }
            if ($data.Length -ge [int]$matches[1]) { break }
            if ($part.Length -eq 0) { Stop-Unanswered 'no more bytes are told' }
        }
        if (Get-Code $told) {
            if (((Get-Code $told) -eq $stale) -and ($tries -lt $tries_max)) { continue }
            return $told
        }
        $bytes = $data.ToArray()
        if (-not $told.Contains('"sha256": "' + (Get-Digest $bytes) + '"')) {
            if ($tries -lt $tries_max) { continue }
            Stop-Unanswered 'the bytes are not those of their digest'
        }
        [System.IO.File]::WriteAllBytes("$file.$PID", $bytes)
        Move-Item -LiteralPath "$file.$PID" -Destination $file -Force
        return ($told -replace ', "data": "[^"]*"', '')
    }
}

# Prints what is told unasked, until it is ended; subscribes again where the host has been away.
function Watch-Host {
    $after = ''
    while ($true) {
        $told = Get-Answer 'subscribe' ($params + $after)
        if (Get-Code $told) { return $told }
        [Console]::Out.WriteLine($told)
        if ($told -match '"number": ([0-9]+)') { $after = ',"after":' + $matches[1] }
        while ($true) {
            $lines = @(Read-Lines -1)
            if ($script:ended) { break }
            foreach ($line in $lines) {
                if (-not $line.Contains('"method": "' + $option + '"')) { continue }
                [Console]::Out.WriteLine($line)
                if ($line -match '"number": ([0-9]+)') { $after = ',"after":' + $matches[1] }
            }
        }
        Start-Sleep -Milliseconds 200
    }
}

$answer = ''
try {
    if ($method -ceq 'subscribe') { $answer = Watch-Host }
    elseif ($does -ceq 'put') { $answer = Send-Blob }
    elseif ($does -ceq 'get') { $answer = Receive-Blob }
    elseif ($does) { $answer = Get-Answer ('blob.' + $does) $params.TrimStart(',') }
    else { $answer = Get-Answer $method $params }
}
catch {
    Stop-Unanswered $_.Exception.Message
}
finally {
    $handle.Close()
}

if ($answer.Contains('"error": {')) {
    [Console]::Error.WriteLine($answer)
    if ((Get-Code $answer) -eq $stale) { exit 5 }
    exit 1
}
[Console]::Out.WriteLine($answer)
if ($answer.Contains('"done": false')) { exit 3 }
exit 0
