# vmrole services 1
$ErrorActionPreference = 'SilentlyContinue'
$ProgressPreference = 'SilentlyContinue'
$required = @([System.Text.Encoding]::UTF8.GetString([Convert]::FromBase64String('REQUIRED')).Split("`n"))
$text = New-Object System.Text.StringBuilder
$count, $seen = 0, 0

# What WMI does not tell in every release stands in the registry; the triggers stand nowhere else.
$query = 'SELECT Name, State, StartMode, ExitCode, ServiceSpecificExitCode FROM Win32_Service'
foreach ($service in @(Get-WmiObject -Query $query)) {
    if ($service -eq $null) { continue }
    $seen++
    $starting = $service.StartMode -eq 'Auto' -and $service.State -ne 'Running'
    if (-not $starting -and $required -notcontains $service.Name) { continue }
    $key = 'Registry::HKEY_LOCAL_MACHINE\SYSTEM\CurrentControlSet\Services\' + $service.Name
    $settings = Get-ItemProperty -LiteralPath $key
    $delayed = [int]($settings.DelayedAutoStart -eq 1)
    $trigger = [int](Test-Path -LiteralPath ($key + '\TriggerInfo'))
    $exit, $specific = $service.ExitCode, $service.ServiceSpecificExitCode
    $fields = ('service=' + $service.Name), $service.State, $exit, $specific, $delayed, $trigger, [int]$settings.Type
    [void]$text.Append(($fields -join '|') + "`n")
    $count++
}
# A WMI that tells of no service at all has not answered: the end is missing then.
if ($seen -gt 0) { [void]$text.Append('end=' + $count + "`n") }

# Bytes, because the console's code page is nobody's choice.
$bytes = [System.Text.Encoding]::UTF8.GetBytes($text.ToString())
$out = [Console]::OpenStandardOutput()
$out.Write($bytes, 0, $bytes.Length)
$out.Flush()
