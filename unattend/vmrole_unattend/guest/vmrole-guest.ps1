# Speaks to vmrole from within a Windows guest: vmrole-guest.ps1 whoami | ready [--for SECONDS] [REASON] |
# busy --for SECONDS [REASON] | log LINE | peers [--after NUMBER | --past NAME] | stopping | let-go
# Prints the answer, one line of JSON. Exits with 0 when it is done, 1 when the host refuses it, 2 for what is no such
# request, 3 when the host has noted it and not done it yet, 4 when nobody answers. Run it as an administrator:
#   powershell.exe -NoProfile -ExecutionPolicy Bypass -File vmrole-guest.ps1 whoami
# It needs nothing that PowerShell 2 does not have, and virtio-serial's driver. It says nothing of its boot, which has
# no name that both sides know: ask for `stopping` again each minute.
$ErrorActionPreference = 'Stop'
$port = '\\.\Global\com.vmrole.guest.0'
$answer_s = 20
$text_max = 2000
$read_bytes = 16384

function Stop-Usage {
    [Console]::Error.WriteLine('usage: vmrole-guest.ps1 whoami | ready [--for SECONDS] [REASON] |')
    [Console]::Error.WriteLine('  busy --for SECONDS [REASON] | log LINE | peers [--after NUMBER | --past NAME] |')
    [Console]::Error.WriteLine('  stopping | let-go')
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
switch -CaseSensitive ($method) {
    'whoami' { if ($rest.Count -ne 0) { Stop-Usage } }
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

$began = [DateTime]::UtcNow
function Get-Left { # in milliseconds, by a clock that somebody may set: never more than there were
    $gone = ([DateTime]::UtcNow - $began).TotalMilliseconds
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

$answer = ''
try {
    $stream = New-Object System.IO.FileStream($handle, [System.IO.FileAccess]::ReadWrite, 1, $true)
    $id = [Guid]::NewGuid().ToString()
    # An empty line ends what another program has left half sent.
    $request = '{"jsonrpc":"2.0","id":"' + $id + '","method":"' + $method + '","params":{' + $params + '}}'
    $request = "`n" + $request + "`n"
    $bytes = [System.Text.Encoding]::ASCII.GetBytes($request)
    $writing = $stream.BeginWrite($bytes, 0, $bytes.Length, $null, $null)
    if (-not $writing.AsyncWaitHandle.WaitOne((Get-Left), $false)) { Stop-Unanswered 'nobody answers' }
    $stream.EndWrite($writing)
    $buffer = New-Object byte[] $read_bytes
    $begun = ''
    while (-not $answer) {
        $reading = $stream.BeginRead($buffer, 0, $buffer.Length, $null, $null)
        if (-not $reading.AsyncWaitHandle.WaitOne((Get-Left), $false)) { Stop-Unanswered 'nobody answers' }
        $taken = $stream.EndRead($reading)
        if ($taken -eq 0) { # The host is away.
            if ((Get-Left) -eq 0) { Stop-Unanswered 'nobody answers' }
            Start-Sleep -Milliseconds 200
            continue
        }
        $lines = ($begun + [System.Text.Encoding]::ASCII.GetString($buffer, 0, $taken)).Split("`n")
        $begun = $lines[$lines.Length - 1]
        for ($number = 0; $number -lt ($lines.Length - 1); $number++) {
            # Answers to others, and what is told unasked, are passed over.
            if ($lines[$number].Contains('"id": "' + $id + '"')) { $answer = $lines[$number] }
        }
    }
}
catch {
    Stop-Unanswered $_.Exception.Message
}
finally {
    $handle.Close()
}

if ($answer.Contains('"error": {')) {
    [Console]::Error.WriteLine($answer)
    exit 1
}
[Console]::Out.WriteLine($answer)
if ($answer.Contains('"done": false')) { exit 3 }
exit 0
