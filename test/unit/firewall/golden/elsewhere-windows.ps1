# Not run on Windows by those who made it. PowerShell, as administrator.
# not here: leak_guard
# not here: nat.publish svc/web
# not here: networks.app1: this firewall has no rules for what it forwards from peer to peer
# not here: host.inbound api: from lan is by address, also through the tunnel
# not here: nat.masquerade out en1: New-NetNat chooses the interface
Get-NetFirewallRule -Group 'rf:home0' -ErrorAction SilentlyContinue | Remove-NetFirewallRule
New-NetFirewallRule -Group 'rf:home0' -DisplayName 'Ringfence home0: wg' -Direction Inbound -Action Allow -Profile Private,Domain -Protocol UDP -LocalPort 51820
New-NetFirewallRule -Group 'rf:home0' -DisplayName 'Ringfence home0: api' -Direction Inbound -Action Allow -Profile Private,Domain -Protocol TCP -LocalPort 13669-13670 -InterfaceAlias 'rf0'
New-NetFirewallRule -Group 'rf:home0' -DisplayName 'Ringfence home0: api' -Direction Inbound -Action Allow -Profile Private,Domain -Protocol TCP -LocalPort 13669-13670 -RemoteAddress '10.0.0.0/8','100.64.0.0/10','169.254.0.0/16','172.16.0.0/12','192.168.0.0/16','fc00::/7','fe80::/10'
New-NetFirewallRule -Group 'rf:home0' -DisplayName 'Ringfence home0: api' -Direction Inbound -Action Allow -Profile Private,Domain -Protocol TCP -LocalPort 13669-13670 -InterfaceAlias 'rf0' -RemoteAddress '10.5.0.0/24'
New-NetFirewallRule -Group 'rf:home0' -DisplayName 'Ringfence home0: api' -Direction Inbound -Action Allow -Profile Private,Domain -Protocol TCP -LocalPort 13669-13670 -RemoteAddress '192.0.2.0/24'
Get-NetNat -Name 'rf_home0_*' -ErrorAction SilentlyContinue | Remove-NetNat -Confirm:$false
New-NetNat -Name 'rf_home0_0' -InternalIPInterfaceAddressPrefix '10.9.0.0/24'
New-NetNat -Name 'rf_home0_1' -InternalIPInterfaceAddressPrefix '192.168.7.0/24'
